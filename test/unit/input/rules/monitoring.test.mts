import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { monitoringConflicts } from '../../../../lib/input/rules/monitoring.mts'
import { defaultSettings } from '../../../../lib/input/settings.mts'
import { pathText } from '../../../../lib/input/yaml.mts'

test('messages go by mail only where there is a mail server with a sender', () => {
  const settings = defaultSettings()
  settings.monitoring.alerts.pages.email = 'ops@keybuzz.io'
  const told = () => monitoringConflicts(settings).map(({ path, expected }) => `${pathText(path)}: ${expected}`)
  assert.equal(told(), ["monitoring.alerts.pages.email: '' as long as backends.smtp.host and backends.smtp.from are not set"])
  settings.backends.smtp.host = 'mail.keybuzz.io'
  assert.equal(told(), ["monitoring.alerts.pages.email: '' as long as backends.smtp.from is not set"])
  settings.backends.smtp.from = 'no-reply@keybuzz.io'
  assert.equal(told(), [])
})

test.run()
