#!/bin/sh
# Compares holdfast at a revision with holdfast as it is in this tree: compare.sh REVISION BENCHSTAT
#
# The benchmarks are this tree's for both, so that only holdfast differs. If they cannot be
# built with the revision, because what can be imported has changed since, its own are run.
# The two run in turns, so that what else the machine does meets both; RUNS is how often (6 is
# the least that benchstat finds significant), BENCH which benchmarks, ORDERS how many orders.
set -eu

base=${1:?which revision? make bench-compare BASE=main}
benchstat=$2
runs=${RUNS:-6}
bench=${BENCH:-'Drain/system=holdfast$/events=(100|1)$/fsync=no|SoldOut'}
orders=${ORDERS:-100000}

cd "$(dirname "$0")"
revision=$(git rev-parse --verify --quiet "$base^{commit}") || {
	echo "no such revision: $base" >&2
	exit 1
}
work=$(mktemp -d)
clean() {
	git worktree remove --force "$work/tree" 2>/dev/null || true # there may be none yet
	rm -rf "$work"
	git worktree prune
}
trap clean EXIT
trap 'exit 1' INT TERM
git worktree add --quiet --detach "$work/tree" "$revision"

mkdir "$work/module"
sed "s|^replace holdfast => .*|replace holdfast => $work/tree|" go.mod >"$work/module/go.mod"
cp go.sum "$work/module/go.sum"
go test -c -o "$work/here" .
if ! go test -c -mod=mod -modfile="$work/module/go.mod" -o "$work/base" . 2>"$work/why"; then
	cat "$work/why" >&2
	echo "these benchmarks cannot be built with $base: its own are run" >&2
	(cd "$work/tree/bench" && go test -c -o "$work/base" .)
fi

for run in $(seq "$runs"); do
	for side in base here; do
		echo "run $run of $runs: $side" >&2
		"$work/$side" -test.run '^$' -test.bench "$bench" -test.benchtime 1x -test.timeout 1h -orders "$orders" >"$work/out" 2>&1 || {
			cat "$work/out" >&2
			exit 1
		}
		cat "$work/out" >>"$work/$side.out"
	done
done
"$benchstat" "$base=$work/base.out" "here=$work/here.out"
