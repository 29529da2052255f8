import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { postgresModules } from '../../../lib/monitoring/exporters.mts'

test('the user and its password stand in the module that Prometheus names, whatever is in the password', () => {
  const password = 'a: b #c\'"\\{}$HOME'
  assert.equal(parse(postgresModules(defaultSettings(), password)), {
    auth_modules: {
      monitoring: {
        type: 'userpass', userpass: { username: 'keybuzz_monitoring', password },
        options: { sslmode: 'disable', dbname: 'postgres', connect_timeout: '3' }
      }
    }
  })
})

test('a password that is put into its place by hand makes the same text', () => {
  const made = postgresModules(defaultSettings(), '{{password}}').replace('{{password}}', 's3cret')
  assert.is(made, postgresModules(defaultSettings(), 's3cret'))
})

test.run()
