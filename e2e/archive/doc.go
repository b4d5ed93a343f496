// Package archive tests the archive against what takes it: an object store that speaks S3, whole and broken, and a program that queries it.
// It is a module of its own, so that theirs are none of holdfast's.
package archive
