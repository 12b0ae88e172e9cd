'use strict'

module.exports = {
  apps: [{
    name: 'site',
    script: 'npm',
    args: 'run start:prod',
    cwd: './',
    wait_ready: true,       // process.send('ready')
    listen_timeout: 10000,
    source_map_support: false,
    merge_logs: true,
    log_date_format: 'YYYY-MM-DD HH:mm Z',
    namespace: `sites`,
  }],
}
