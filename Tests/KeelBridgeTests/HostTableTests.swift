import Foundation
import Testing

@testable import KeelBridge

struct HostTableTests {
    private func header() throws -> String {
        try String(
            contentsOf: Zoo.root.appendingPathComponent("SDK/C/include/keel.h"), encoding: .utf8)
    }

    @Test func everyFunctionOfTheTableIsThere() {
        let words = HostTable.bytes
        #expect(words.loadUnaligned(as: UInt32.self) == UInt32(words.count))
        for offset in stride(from: 8, to: words.count, by: 8) {
            #expect(
                words.loadUnaligned(fromByteOffset: offset, as: UInt.self) != 0,
                "the function at offset \(offset) is missing")
        }
    }

    /// The numbers of `KEEL_OP_*` in the header are the host's operations, neither more nor fewer.
    @Test func theOperationsAreThoseOfTheHeader() throws {
        let pattern = /KEEL_OP_[A-Z0-9_]+ = ([0-9]+)/
        let codes = try header().matches(of: pattern).compactMap { Int32($0.1) }
        #expect(codes.count > 50)
        #expect(Set(codes).count == codes.count)
        #expect(Set(codes) == Set(TensorOps.table.keys))
    }
}
