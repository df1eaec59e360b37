package io.choria.aaasvc
import future.keywords.if
default allow = false
allow if input.agent == "myco"
