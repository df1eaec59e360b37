package io.choria.aaasvc
import rego.v1
default allow := false
allow if {
  count(input.data) == 0
}
