import Glibc
import KeelCore
import KeelText

/// How fast a tokenizer cuts text, on one core.
///
///     keel-bench-tokenizer FOLDER TEXT [MEGABYTES]
///
/// TEXT is a file of lines. They are repeated in another order each time until there are MEGABYTES (50). Cold: the first pass of a new
/// tokenizer; warm: a second pass of the same one. The figures are megabytes per second of the processor's time.
@main
struct TokenizerBench {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count > 2 else {
            print("usage: keel-bench-tokenizer FOLDER TEXT [MEGABYTES]")
            exit(ExitCode.usage.rawValue)
        }
        let size = (arguments.count > 3 ? Int(arguments[3]) ?? 50 : 50) * 1_000_000
        let lines = try Files.readText(arguments[2]).split(separator: "\n").map {
            String($0) + "\n"
        }
        var texts: [String] = []
        var bytes = 0
        var round: UInt64 = 0
        while bytes < size, !lines.isEmpty {
            let stream = RandomStream(seed: 1, place: "lines", round)
            let order = lines.indices.map { (stream.bits(UInt64($0)), $0) }.sorted { $0 < $1 }
            for (_, line) in order where bytes < size {
                texts.append(lines[line])
                bytes += lines[line].utf8.count
            }
            round += 1
        }
        let tokenizer = try Tokenizer.load(directory: arguments[1])
        for pass in ["cold", "warm"] {
            let start = seconds()
            var tokens = 0
            for text in texts { tokens += try tokenizer.ids(text, addSpecial: false).count }
            let rate = Double(bytes) / 1e6 / (seconds() - start)
            print("\(pass) \(rate.text(digits: 3)) MB/s, \(bytes) bytes, \(tokens) tokens")
        }
    }

    /// Of the processor, by this process.
    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
