// Package chart has only tests: Helm itself lints the chart of deployments/helm, and renders it. Helm is large, so it is a module of
// its own that "make test-chart" runs; what it renders is kept in ../deployments/testdata, where "make test" validates and starts it.
package chart
