#!/usr/bin/env node
// npm run bench  Measures the scripts, and says which of the goals are met. It asserts none of them.
//
// It makes the lab's nodes bare again, so a cluster in the lab is lost, and leaves a new one there. The 64 hosts of the
// second part run in a container of their own, which is removed at the end, also after ctrl-C. The third part switches
// nodes of the lab off and on again, also after ctrl-C; after a second ctrl-C `npm run lab -- up` does. Takes some half
// an hour.
//
//   npm run bench                everything; writes bench/results.json and the table in docs/performance.md
//   npm run bench -- lab         apply_all on the eight nodes only; writes nothing
//   npm run bench -- hosts       the plan of 8 and of 64 hosts only; writes nothing, and does not touch the lab
//   npm run bench -- failover    what requests meet when a node dies, on the cluster that is there, or a new one; writes
//                                nothing
//   npm run bench -- peak        a ramp of load on KeyBuzz API, and what its autoscaler does, on the applications that are
//                                there; writes nothing

import { messageOf } from '../lib/base/errors.mts'
import { engine as reachEngine } from '../test/lab/engine.mts'
import { images } from '../test/lab/images.mts'
import { createProgress } from '../test/lab/progress.mts'
import { measureFailover } from './failover.mts'
import { bareLab, convergedLab, measureLab } from './lab-runs.mts'
import { computer, save, type Results } from './results.mts'
import { measurePeak, peakTable } from './peak.mts'
import { rows } from './rows.mts'
import { measureHosts, removeHosts } from './ssh-hosts.mts'
import { plainTable } from './table.mts'

const rounds = 3
const parts = ['lab', 'hosts', 'failover']
const wanted = process.argv.slice(2)
if (wanted.some((part) => ![...parts, 'peak'].includes(part))) {
  console.error(`npm run bench -- [${[...parts, 'peak'].join(' | ')}]`)
  process.exit(64)
}
const measures = (part: string): boolean => wanted.length === 0 || wanted.includes(part)

const progress = createProgress()
const interrupt = new AbortController()
const { signal } = interrupt
const results: Results = { date: new Date().toISOString(), computer: computer() }
try {
  const engine = await reachEngine(progress)
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (signal.aborted) process.exit(130)
      interrupt.abort()
      removeHosts(engine).catch(() => {}) // what runs in there ends with it, and then removes again
    })
  }
  if (wanted.includes('peak')) console.log(peakTable(await measurePeak({ progress, signal })))
  const { node } = await images(engine, progress)
  // The bare lab is idle while the hosts are measured; a cluster would not be.
  const k3s = measures('lab') ? await bareLab() : ''
  signal.throwIfAborted()
  if (measures('hosts')) results.hosts = await measureHosts(engine, node, { rounds, progress, signal })
  if (measures('lab')) results.lab = await measureLab(k3s, { rounds, progress, signal })
  if (measures('failover')) {
    if (!measures('lab')) await convergedLab({ progress, signal })
    results.failover = await measureFailover({ rounds, progress, signal })
  }
  if (parts.every(measures)) await save(results)
} catch (error) {
  const words = messageOf(error)
  console.error(signal.aborted ? 'Interrupted. Nothing was written.' : words)
  process.exitCode = signal.aborted ? 130 : 1
}
// Also where a later part failed: what was measured before is worth knowing.
if (rows(results).length > 0) console.log(plainTable(rows(results)))
