// Rejects a hundred thousand promises that nobody handles.
// expect: failed unhandled_rejection /^Error: 0/
// limits: heap=256 timeout=20
for (let i = 0; i < 1e5; i++) Promise.reject(new Error(String(i)));
