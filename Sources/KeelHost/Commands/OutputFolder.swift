import KeelCore
import KeelModel

/// The folder that a run writes: what stands in it already, and what becomes of that.
struct OutputFolder {
    let path: String
    let store: CheckpointStore
    private let resume: ResumeMode
    private let overwrite: Bool
    private let configPath: String
    /// The models that the run starts from.
    private let sources: [String]
    private var lock: FolderLock?

    /// - Throws: `KeelError` (cannotCreate) while another process trains there.
    init(_ config: RunConfig, _ options: TrainCommand.Options) throws {
        path = config.outputDir
        store = CheckpointStore(directory: path)
        resume = options.resume
        overwrite = options.overwrite
        configPath = options.configPath
        sources = config.modelFolders
        // One that does not exist yet is made when everything has been checked.
        if Files.isDirectory(path) { try hold() }
    }

    private mutating func hold() throws {
        guard lock == nil else { return }
        lock = FolderLock(path)
        guard lock == nil else { return }
        throw KeelError(
            "train", "another keel train is at work in the output folder", at: path,
            fix: "wait until it has ended, stop it, or choose another --output-dir",
            code: .cannotCreate)
    }

    private var holdsRun: Bool {
        Files.exists(Files.join(path, Manifest.file)) || !store.steps().isEmpty
    }

    // MARK: - Where to start

    /// The checkpoint to start from, or nil for a fresh start.
    ///
    /// - Throws: `KeelError`: cannotCreate when a run stands in the folder and nothing says what to do with it,
    ///   badData when no checkpoint of it can be read.
    func checkpoint() throws -> Checkpoint? {
        switch resume {
        case .checkpoint(let name):
            let checkpoint = try store.open(Files.absolute(name))
            guard isOwn(checkpoint) else {
                try checkUnused(
                    fix:
                        "leave out --output-dir to go on in the checkpoint's own folder, discard that run "
                        + "(--overwrite), or choose another --output-dir")
                return checkpoint
            }
            if let newest = store.steps().last, newest > checkpoint.step {
                Log.notice(
                    "checkpoints after step \(checkpoint.step) are of the earlier run until this one gets there"
                )
            }
            return checkpoint
        case .auto:
            let (found, damaged) = store.newest()
            for error in damaged {
                Log.warning("passed over a damaged checkpoint: \(error.what) (\(error.at ?? ""))")
            }
            guard found != nil || damaged.isEmpty || overwrite else {
                let names = store.steps().map { "checkpoint-\($0)" }.joined(separator: ", ")
                throw KeelError(
                    "train", "no checkpoint of the run can be read: \(names)", at: path,
                    fix: "move the folder away to start anew, or discard the run (--overwrite)",
                    code: .badData)
            }
            return found
        case .never:
            try checkUnused(
                fix:
                    "go on with it (--resume auto), discard it (--overwrite), or choose another --output-dir"
            )
            return nil
        }
    }

    private func isOwn(_ checkpoint: Checkpoint) -> Bool {
        Files.real(Files.parent(checkpoint.folder)) == Files.real(path)
    }

    private func checkUnused(fix: String) throws {
        guard holdsRun, !overwrite else { return }
        throw KeelError(
            "train", "the output folder holds a run already", at: path, fix: fix,
            code: .cannotCreate)
    }

    // MARK: - Making room

    /// Makes the folder, and removes what an earlier run left in it where that is no part of this one.
    ///
    /// - Throws: `KeelError`: cannotCreate while another process trains there, or when this run starts from what
    ///   would go; io.
    mutating func prepare(from checkpoint: Checkpoint?) throws {
        try Files.makeDirectory(path)
        try hold()
        try store.removeLeftovers()
        guard checkpoint.map({ !isOwn($0) }) ?? true, holdsRun else { return }
        // A run that was killed before its first checkpoint starts afresh, and so do its logs.
        let gone = try Files.list(path).filter { isLog($0) || (overwrite && isResult($0)) }
        if overwrite { try checkSources(gone) }
        for name in gone { try Files.remove(Files.join(path, name)) }
    }

    private func isLog(_ name: String) -> Bool {
        [
            Manifest.file, RunLog.file, "metrics.jsonl", "samples.jsonl", "trainer_state.json",
            "runs",
        ].contains(name)
    }

    /// Checkpoints and models of the run; foreign files stay, and so does the config of this run.
    private func isResult(_ name: String) -> Bool {
        guard name.hasPrefix("checkpoint-") || name == BestModel.folder || Networks.saves(name)
        else { return false }
        return Files.real(Files.join(path, name)) != Files.real(configPath)
    }

    /// A run cannot discard what it starts from.
    private func checkSources(_ gone: [String]) throws {
        let root = Files.real(path)
        for source in sources {
            let real = Files.real(source)
            guard real == root || gone.contains(where: { (real + "/").hasPrefix("\(root)/\($0)/") })
            else { continue }
            throw KeelError(
                "train", "--overwrite would remove a model that the run starts from", at: source,
                fix: "choose another --output-dir, or move the model away", code: .cannotCreate)
        }
    }
}

extension RunConfig {
    /// The folders of all models that the config names.
    fileprivate var modelFolders: [String] {
        var folders = [model.path, model.adapter, critic.path].compactMap { $0 }
        if case .path(let path, _) = reference { folders.append(path) }
        return folders + rewards.flatMap { [$0.model?.path, $0.judge?.path].compactMap { $0 } }
    }
}
