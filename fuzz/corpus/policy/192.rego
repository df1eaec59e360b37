package io.choria.aaasvc
default allow = false
allow {
  time.weekday(time.parse_rfc3339_ns("2026-11-20T00:00:00Z")) == "Friday"
}
