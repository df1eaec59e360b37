package io.choria.aaasvc
default allow = false
allow {
  object.get(input.data, "absent", "d") == "d"
}
