package io.choria.aaasvc
allow(x) { x == 1 }
