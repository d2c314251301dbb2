// Asks the cloud's metadata service for credentials.
// expect: failed script_error /ReferenceError: fetch is not defined/
await fetch('http://169.254.169.254/latest/meta-data/')
