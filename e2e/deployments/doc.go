// Package deployments has only tests: what is in deployments/ is rendered, validated, and started. It is a module of its
// own, so that what reads Compose files and manifests does not become a dependency of holdfast.
package deployments
