package io.choria.aaasvc
import rego.v1
default allow := false
allow if {
  time.weekday(time.parse_rfc3339_ns("2026-11-20T00:00:00Z")) == "Friday"
}
