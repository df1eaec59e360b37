package io.choria.aaasvc
default allow = false
allow {
  requires_filter() == true
}
