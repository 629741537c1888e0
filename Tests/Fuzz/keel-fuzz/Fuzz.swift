import CFuzzer
import Glibc
import KeelCore

/// Feeds a parser of foreign bytes with mutated files; whatever is not read ends in a `KeelError`.
///
///     keel-fuzz PARSER [libFuzzer's flags] [CORPUS]...
///
/// `.ci/fuzz.sh` builds it with the address sanitizer and runs every parser.
@main
enum Fuzz {
    nonisolated(unsafe) private static var parser: any FuzzedParser = JSONParser()

    static func main() throws {
        let name = CommandLine.arguments.dropFirst().first ?? ""
        guard let chosen = parsers.first(where: { $0.name == name }) else {
            print("usage: keel-fuzz PARSER [FLAGS] [CORPUS]...")
            for parser in parsers { print("  \(parser.name)") }
            exit(ExitCode.usage.rawValue)
        }
        parser = try chosen.make()
        // libFuzzer gets the program's name and what stands behind the parser's.
        var count = CommandLine.argc - 1
        var rest: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
        exit(
            LLVMFuzzerRunDriver(&count, &rest) { bytes, count in
                Fuzz.input(UnsafeRawBufferPointer(start: bytes, count: count))
                return 0
            })
    }

    private static func input(_ bytes: UnsafeRawBufferPointer) {
        do {
            try parser.read(bytes)
        } catch is KeelError {
            // The only way out for a file that cannot be read.
        } catch {
            fatalError("another error than KeelError: \(error)")
        }
    }
}
