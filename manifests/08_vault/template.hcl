template {
  destination          = "/vault/secrets/${FILE}"
  perms                = "0444"
  error_on_missing_key = true
  error_fatal          = false
  contents             = ${CONTENTS}
}
