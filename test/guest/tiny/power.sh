#!/bin/sh
# The power button, as acpid calls it.
kill -USR2 1
