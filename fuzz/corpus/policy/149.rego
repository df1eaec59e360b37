package io.choria.aaasvc
allow { input.agent == "x" }
