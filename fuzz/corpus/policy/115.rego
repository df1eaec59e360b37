package io.choria.aaasvc
default allow = false
allow {
  requires_fact_filter("country=uk")
}
