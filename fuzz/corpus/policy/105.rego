package io.choria.aaasvc
default allow = false
allow {
  requires_class_filter("Apache")
}
