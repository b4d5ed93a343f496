// Package api is holdfast over HTTP: checkouts publish requests and learn what became of them, customers see what they have
// bought, sales what is sold; organisers and SREs do what they do by commands. It keeps nothing: any number of processes serve the same namespace.
//
// What each endpoint takes, gives and answers instead is in openapi.json, which is made from this code.
package api
