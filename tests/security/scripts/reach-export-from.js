// Re-exports what lies elsewhere.
// expect: failed syntax_error /Cannot import "file:...etc.passwd"/
export * from 'file:///etc/passwd';
