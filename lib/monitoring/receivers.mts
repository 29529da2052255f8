import { stringify } from 'yaml'
import type { Settings } from '../input/settings.mts'

/** Where the pod finds a secret. */
const secret = (name: string): string => `/etc/alertmanager/secrets/${name}`

/** A template of manifests/07_monitoring/alertmanager/messages.tmpl. */
const words = (name: string): string => `{{ template "keybuzz.${name}" . }}`

/** Ports at which mail servers take passwords, and so speak TLS (RFC 8314). */
const submission = [465, 587]

const receiver = (name: 'pages' | 'tickets', { backends: { smtp }, monitoring: { alerts } }: Settings) => {
  const { webhook, slack, email } = alerts[name]
  return {
    name,
    ...(webhook ? { webhook_configs: [{ url_file: secret(`${name}-webhook`), send_resolved: true }] } : {}),
    ...(slack === '' ? {} : {
      slack_configs: [{
        api_url_file: secret(`${name}-slack`), channel: slack, send_resolved: true,
        color: words('color'), title: words('title'), title_link: words('link'), text: words('slack'), fallback: words('title')
      }]
    }),
    ...(email === '' ? {} : {
      email_configs: [{
        to: email, from: smtp.from, smarthost: `${smtp.host}:${smtp.port}`,
        // A password is never sent in the open. A relay of the private network needs none, and mostly has no certificate.
        require_tls: smtp.user !== '' || submission.includes(smtp.port),
        ...(smtp.user === '' ? {} : { auth_username: smtp.user, auth_password_file: secret('smtp-password') }),
        send_resolved: true, headers: { Subject: words('title') }, html: '', text: words('mail')
      }]
    })
  }
}

/**
 * alertmanager.yml. All alerts go to `tickets`, and those that page to `pages` too. A receiver that the settings give no way to
 * send is there and stays silent. No secret is in it, only where each is.
 */
export const alertmanagerConfig = (settings: Settings, inhibitions: unknown[]): string => {
  const { watchdog } = settings.monitoring.alerts
  return stringify({
    templates: ['/etc/alertmanager/messages.tmpl'],
    route: {
      receiver: 'tickets',
      // Only a test message has `sent`: it is one of its own, and need not wait for a minute because there was one before.
      group_by: ['alertname', 'cluster', 'sent'],
      // Prometheus tells for 15 minutes, about once a minute, that an alert is over. In a shorter interval these are now some, now
      // others of a group, and Alertmanager would send what still fires again each time.
      group_wait: '10s', group_interval: '1m', repeat_interval: '12h',
      routes: [
        // A little less than the interval at which it is looked at: else every second message would be left out.
        {
          matchers: ['alertname="Watchdog"'], receiver: watchdog ? 'watchdog' : 'nobody', group_wait: '0s', repeat_interval: '50s'
        },
        { matchers: ['severity="page"'], receiver: 'pages', repeat_interval: '4h', continue: true },
        { receiver: 'tickets' }
      ]
    },
    inhibit_rules: inhibitions,
    receivers: [
      receiver('pages', settings),
      receiver('tickets', settings),
      { name: 'watchdog', ...(watchdog ? { webhook_configs: [{ url_file: secret('watchdog-url'), send_resolved: false }] } : {}) },
      { name: 'nobody' }
    ]
  }, { lineWidth: 0 })
}
