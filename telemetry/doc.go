// Package telemetry shows how a worker is: its metrics to Prometheus, whether it lives and is ready to those who run it,
// and the backlog to those who scale it.
package telemetry
