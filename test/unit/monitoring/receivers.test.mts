import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { alertmanagerConfig } from '../../../lib/monitoring/receivers.mts'

type Email = { smarthost: string; require_tls: boolean; auth_username?: string; auth_password_file?: string; to: string; from: string; html: string }
type Receiver = {
  name: string
  webhook_configs?: { url_file: string; send_resolved: boolean }[]
  slack_configs?: { api_url_file: string; channel: string }[]
  email_configs?: Email[]
}
type Route = { receiver: string; matchers?: string[]; continue?: boolean; repeat_interval?: string; group_wait?: string; group_by?: string[]; routes?: Route[] }
type Config = { route: Route; receivers: Receiver[]; inhibit_rules: unknown[] }

const made = (change: (settings: Settings) => void = () => {}, inhibitions: unknown[] = []): Config => {
  const settings = defaultSettings()
  change(settings)
  return parse(alertmanagerConfig(settings, inhibitions)) as Config
}

const receiver = ({ receivers }: Config, name: string): Receiver => receivers.find((one) => one.name === name)!

test('without receivers all of them are there and silent', () => {
  const config = made()
  assert.equal(config.receivers, [{ name: 'pages' }, { name: 'tickets' }, { name: 'watchdog' }, { name: 'nobody' }])
  assert.is(config.route.routes![0]!.receiver, 'nobody')
})

test('all alerts go to tickets, those that page to pages too, the watchdog to nobody else', () => {
  const { route } = made(({ monitoring: { alerts } }) => { alerts.watchdog = true })
  assert.equal(route.routes!.map(({ receiver: to, matchers, continue: goes }) => [matchers, to, goes]), [
    [['alertname="Watchdog"'], 'watchdog', undefined],
    [['severity="page"'], 'pages', true],
    [undefined, 'tickets', undefined]
  ])
  assert.equal([route.receiver, route.group_by, route.group_wait, route.repeat_interval], ['tickets', ['alertname', 'cluster', 'sent'], '10s', '12h'])
  assert.is(route.routes![1]!.repeat_interval, '4h')
})

test('addresses that are secrets stand in files', () => {
  const config = made(({ monitoring: { alerts } }) => {
    alerts.pages.webhook = true
    alerts.tickets.slack = '#alerts'
    alerts.watchdog = true
  })
  assert.equal(receiver(config, 'pages').webhook_configs, [{ url_file: '/etc/alertmanager/secrets/pages-webhook', send_resolved: true }])
  assert.is(receiver(config, 'tickets').slack_configs![0]!.api_url_file, '/etc/alertmanager/secrets/tickets-slack')
  assert.is(receiver(config, 'tickets').slack_configs![0]!.channel, '#alerts')
  assert.equal(receiver(config, 'watchdog').webhook_configs, [{ url_file: '/etc/alertmanager/secrets/watchdog-url', send_resolved: false }])
})

const mail = (port: number, user = ''): Email => {
  const config = made(({ backends: { smtp }, monitoring: { alerts } }) => {
    Object.assign(smtp, { host: 'mail.example.com', port, user, from: 'no-reply@keybuzz.io' })
    alerts.tickets.email = 'ops@keybuzz.io'
  })
  return receiver(config, 'tickets').email_configs![0]!
}

test('mail goes through the server of the settings, with its password in a file', () => {
  const email = mail(587, 'robot')
  assert.equal([email.to, email.from, email.smarthost, email.auth_username], ['ops@keybuzz.io', 'no-reply@keybuzz.io', 'mail.example.com:587', 'robot'])
  assert.is(email.auth_password_file, '/etc/alertmanager/secrets/smtp-password')
  assert.is(email.html, '')
})

test('a password, and the ports that are made for one, want TLS; a relay without a user does not', () => {
  assert.equal([465, 587, 25, 2525].map((port) => mail(port).require_tls), [true, true, false, false])
  assert.is(mail(2525, 'robot').require_tls, true)
  assert.not('auth_username' in mail(25))
})

test('inhibitions are taken as they are', () => {
  const rule = { source_matchers: ['alertname="NodeDown"'], target_matchers: ['severity="ticket"'], equal: ['node'] }
  assert.equal(made(() => {}, [rule]).inhibit_rules, [rule])
})

test.run()
