// Asks the network as browsers did before fetch.
// expect: failed script_error /ReferenceError: XMLHttpRequest is not defined/
const request = new XMLHttpRequest();
request.open('GET', 'file:///etc/passwd', false);
request.send();
