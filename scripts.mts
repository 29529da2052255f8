import { prepare } from './09_k3s_01_prepare.mts'
import { installControlPlane } from './09_k3s_02_install_control_plane.mts'
import { joinWorkers } from './09_k3s_03_join_workers.mts'
import { bootstrapAddons } from './09_k3s_04_bootstrap_addons.mts'
import { installIngress } from './09_k3s_05_ingress_daemonset.mts'
import { deployCoreApps } from './09_k3s_06_deploy_core_apps.mts'
import { installMonitoring } from './09_k3s_07_install_monitoring.mts'
import { installVaultAgent } from './09_k3s_08_install_vault_agent.mts'
import type { Script } from './lib/run/script.mts'

/** The scripts that make the cluster, in the order in which they are run. A new one is added here, before 09. */
export const scripts: Script[] = [
  prepare, installControlPlane, joinWorkers, bootstrapAddons, installIngress, deployCoreApps, installMonitoring, installVaultAgent
]
