import Glibc
import KeelBridge
import KeelCore

/// What `--resume` says.
package enum ResumeMode: Equatable, Sendable {
    case never
    /// The newest complete checkpoint; a fresh start where there is none.
    case auto
    case checkpoint(String)
}

/// `keel train CONFIG`: a run from its config to a Hugging Face folder.
package enum TrainCommand {
    package struct Options: Sendable {
        package var configPath: String
        package var overrides: [String] = []
        package var outputDir: String?
        package var pluginPaths: [String] = []
        package var resume = ResumeMode.never
        /// Discards the run that stands in the output folder.
        package var overwrite = false
        package var allowPluginChange = false
        /// The file that says what the run did when.
        package var trace: String?
        /// Whether CPU seconds are counted by stage, for the trace and a table at the end.
        package var isProfiled = false
        /// Ends the process from another thread than the run's, which is stuck in a plugin.
        package var end: @Sendable (KeelError) -> Void = { error in
            Log.stderr("\(error)\n")
            _exit(error.code.rawValue)
        }

        package init(configPath: String) { self.configPath = configPath }
    }

    /// Checks everything, then trains.
    ///
    /// - Returns: `ok`, or `stopped` after a signal.
    /// - Throws: `KeelError` or `KeelErrors` with the exit codes of the documentation.
    package static func run(_ options: Options, progress: Progress) throws -> ExitCode {
        Log.keepWarnings()
        let catalog = PluginCatalog(searchPaths: options.pluginPaths)
        let (config, plugins) = try RunConfig.load(
            options.configPath, overrides: options.overrides, outputDir: options.outputDir,
            catalog: catalog)
        var output = try OutputFolder(config, options)
        defer { withExtendedLifetime(output) {} }
        let checkpoint = try output.checkpoint()
        if let checkpoint {
            try Manifest.checkPlugins(checkpoint, plugins, allowChange: options.allowPluginChange)
            Log.notice("going on from \(checkpoint.folder)")
        }
        let watchdog = Watchdog(
            limit: config.train.watchdogSeconds > 0 ? config.train.watchdogSeconds : nil,
            end: options.end)
        watchdog.start()
        let setup = try RunSetup(
            config: config, plugins: plugins, catalog: catalog, weights: checkpoint?.folder,
            trace: try options.trace.map { try Trace($0) }, isProfiled: options.isProfiled)
        if let checkpoint { Manifest.compare(checkpoint, setup) }
        for note in setup.notes { Log.notice(note) }
        // A sampler's order belongs to the state that a checkpoint restores.
        if checkpoint == nil { try setup.checkMemory() }

        try output.prepare(from: checkpoint)
        try AtomicWrite.file(
            Files.join(config.outputDir, Manifest.file),
            try Manifest.json(setup).text(pretty: true) + "\n")
        let log = try MetricLog(directory: config.outputDir, keepUpTo: checkpoint?.step)
        try log.text("args", config.json.text(pretty: true))
        let samples = try JSONLines(
            Files.join(config.outputDir, "samples.jsonl"), keepUpTo: checkpoint?.step)
        let run = try Run(
            setup: setup, checkpoint: checkpoint, log: log, sampleLog: samples, progress: progress)
        watchdog.whenStuck { run.saved(after: $0) }
        if let checkpoint { try setup.checkMemory(from: checkpoint.step) }
        let record = try RunLog(directory: config.outputDir, isFresh: checkpoint == nil)
        record.add(checkpoint == nil ? .started : .resumed, step: run.step)
        record.addWarnings(step: run.step)
        run.record = record
        do {
            let code = try run.train()
            record.addWarnings(step: run.step)
            let signal = Signals.stopRequest.map { "by \(Signals.name($0))" }
            record.add(
                code == .ok ? .finished : .stopped, step: run.step, code == .ok ? nil : signal)
            if code == .ok { Log.notice("a page about this run: keel report \(config.outputDir)") }
            return code
        } catch {
            record.addWarnings(step: run.step)
            record.add(.failed, step: run.step, (error as? KeelError)?.description ?? "\(error)")
            throw error
        }
    }
}
