#!/bin/sh
echo 'error: bazel coverage; expected a Bazel with network' >&2
exit 2
