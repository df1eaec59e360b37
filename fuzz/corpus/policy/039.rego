package io.choria.aaasvc
default allow = false
allow {
  count(input.data) == 8
}
