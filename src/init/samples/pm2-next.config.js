// A web application and the API behind it.
module.exports = {
  apps: [
    {
      name: "web",
      script: "node_modules/next/dist/bin/next",
      interpreter: "node",
      args: "start -p 3000",
      exec_mode: "cluster",
      instances: "max",
      max_memory_restart: "512M",
      env: { NODE_ENV: "production", PORT: 3000 },
      env_staging: { NODE_ENV: "staging" },
      error_file: "./logs/web.err",
      time: true,
    },
    {
      name: "api",
      script: ".venv/bin/uvicorn",
      args: ["api.main:app", "--port", "8000"],
      interpreter: "none",
      autorestart: true,
      max_restarts: 10,
      min_uptime: "10s",
      restart_delay: 4000,
      kill_timeout: 5000,
      watch: false,
    },
  ],
};
