#!/bin/sh
# What the official image's does, where no certificates are mounted.
if [ $# -gt 0 ]; then exec n8n "$@"; fi
exec n8n
