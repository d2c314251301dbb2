// Imports a file as JSON.
// expect: failed syntax_error /Cannot import "file:...etc.passwd"/
import passwd from 'file:///etc/passwd' with { type: 'json' };
passwd
