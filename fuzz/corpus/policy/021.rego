package io.choria.aaasvc
import rego.v1
default allow := false
allow if {
  not input.data.absent
  not input.agent == "x"
}
