#!/usr/bin/env node
// 09_k3s_apply_all  Apply all
//
// Runs the scripts in order: one plan of all of them, one question, then each in turn. It stops at the first script
// that fails, and says how long each took. Interrupt it when you must, and run it again: it goes on from there.
//
// Needs:   what the first script needs.
// Changes: what the scripts change; read their headers.
// Undo:    see the scripts.
// Example: ./09_k3s_apply_all.mts --from 02

import { prepare } from './09_k3s_01_prepare.mts'
import { installControlPlane } from './09_k3s_02_install_control_plane.mts'
import { joinWorkers } from './09_k3s_03_join_workers.mts'
import { bootstrapAddons } from './09_k3s_04_bootstrap_addons.mts'
import { installIngress } from './09_k3s_05_ingress_daemonset.mts'
import { finalValidation } from './09_k3s_09_final_validation.mts'
import { UsageError } from './lib/base/errors.mts'
import { operate, type Script } from './lib/run/script.mts'

const scripts = [prepare, installControlPlane, joinWorkers, bootstrapAddons, installIngress, finalValidation]

const numberOf = ({ id }: Script): string => id.split('_').at(-1)!

const indexOf = (flag: string, value: string): number => {
  const index = scripts.findIndex((script) => [script.id, numberOf(script)].includes(value))
  if (index !== -1) return index
  const known = scripts.map(numberOf).join(', ')
  throw new UsageError([{ file: 'command line', what: flag, value, expected: `one of ${known}`, remedy: 'Correct it.' }])
}

const choose = ({ from, to, only }: Record<string, string | undefined>): Script[] => {
  const first = from === undefined ? 0 : indexOf('--from', from)
  const last = to === undefined ? scripts.length - 1 : indexOf('--to', to)
  if (only === undefined && first <= last) return scripts.slice(first, last + 1)
  if (only !== undefined && from === undefined && to === undefined) {
    const wanted = only.split(',').map((value) => indexOf('--only', value))
    return scripts.filter((_, index) => wanted.includes(index))
  }
  const what = only === undefined ? '--from, --to' : '--only'
  const expected = only === undefined ? 'the first one before the last one' : 'it without --from and --to'
  throw new UsageError([{ file: 'command line', what, expected, remedy: 'Correct it.' }])
}

if (import.meta.main) {
  await operate(scripts, import.meta.filename, {
    choose,
    flags: {
      from: '--from 02          begin with this script',
      to: '--to 03            end with this script',
      only: '--only 01,03       only these scripts'
    }
  })
}
