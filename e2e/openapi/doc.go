// Package openapi has others judge api/openapi.json: the linters of Redocly and Spectral, with all of their rules but those that stand in their files here.
package openapi
