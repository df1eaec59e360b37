package io.choria.aaasvc
default allow = false
allow {
  not requires_filter()
}
