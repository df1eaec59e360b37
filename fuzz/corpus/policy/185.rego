package io.choria.aaasvc
import rego.v1
default allow := false
allow if {
  re_match("^my", input.agent)
}
