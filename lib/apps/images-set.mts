import type { Fault } from '../base/errors.mts'
import type { Settings } from '../input/settings.mts'

/**
 * What is to be said of enabled applications whose image is not set. Those of KeyBuzz itself have no default. This is no rule
 * of the settings: 01 to 05 do not need them.
 */
export const imagesMissing = ({ apps }: Settings): Fault[] =>
  (['api', 'front'] as const).filter((name) => apps[name].enabled && apps[name].image === '').map((name) => ({
    file: 'settings.yaml',
    what: `apps.${name}.image`,
    expected: 'an image with a tag',
    remedy: `Set it, or set apps.${name}.enabled to false.`
  }))
