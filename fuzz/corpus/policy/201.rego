package io.choria.aaasvc
default allow = false
allow {
  any([false,true])
  all([true])
}
