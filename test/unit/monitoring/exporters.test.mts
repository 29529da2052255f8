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

test.run()
