import Foundation
import KeelCore

/// One run of the built `keel`: what it wrote and how it ended.
struct Outcome {
    var code: Int32
    var output: String
    var errors: String
}

/// Runs the executable beside the tests.
///
/// - Parameters:
///   - folder: the current folder of the run; its path is written `$DIR` in what comes back.
///   - environment: added to that of the tests.
func keel(
    _ arguments: [String], in folder: String, input: String = "",
    environment: [String: String] = [:]
) throws -> Outcome {
    let process = Process()
    let executable = Files.join(Files.parent(Files.executable), "keel")
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    var variables = ProcessInfo.processInfo.environment
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "KEEL_PLUGIN_PATH"] { variables[name] = nil }
    variables["HOME"] = folder
    variables["XDG_CACHE_HOME"] = Files.join(folder, ".cache")
    variables["XDG_DATA_HOME"] = Files.join(folder, ".data")
    for (name, value) in environment { variables[name] = value }
    process.environment = variables
    // Files, not pipes: nothing to drain while it runs.
    let names = ["in", "out", "err"].map { Files.join(folder, ".std\($0)") }
    try AtomicWrite.file(names[0], input)
    for name in names[1...] { try AtomicWrite.file(name, "") }
    process.standardInput = FileHandle(forReadingAtPath: names[0])
    process.standardOutput = FileHandle(forWritingAtPath: names[1])
    process.standardError = FileHandle(forWritingAtPath: names[2])
    try process.run()
    process.waitUntilExit()
    func text(_ name: String) throws -> String {
        try Files.readText(name).replacingOccurrences(of: folder, with: "$DIR")
    }
    let code =
        process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    return Outcome(code: code, output: try text(names[1]), errors: try text(names[2]))
}
