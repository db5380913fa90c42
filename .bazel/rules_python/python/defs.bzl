"""The Python rules that are part of Bazel itself."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
