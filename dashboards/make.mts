#!/usr/bin/env node
// Writes manifests/07_monitoring/dashboards/<uid>.json from the pages here, with the limits that the alerts have now:
//
//   node dashboards/make.mts
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readAlerts } from './alerts.mts'
import { pages } from './all.mts'
import { dashboard } from './look.mts'

export const folder = join(import.meta.dirname, '../manifests/07_monitoring/dashboards')

/** The text of each file, by its name. */
export const files = (): Map<string, string> => {
  const alerts = readAlerts()
  return new Map(pages.map((page) => [`${page.uid}.json`, `${JSON.stringify(dashboard(page, alerts), null, 2)}\n`]))
}

if (import.meta.main) {
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of files()) writeFileSync(join(folder, name), text)
}
