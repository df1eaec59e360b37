package io.choria.aaasvc
default allow = false
allow {
  input.data.flag == true
}
