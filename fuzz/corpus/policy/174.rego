package io.choria.aaasvc
default allow = false
allow {
  true
}
