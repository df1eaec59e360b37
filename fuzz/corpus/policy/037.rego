package io.choria.aaasvc
default allow = false
allow {
  input.data.nested.a[2] == 3
}
