package io.choria.aaasvc
default allow = false
allow {
  requires_data_filter("x")
}
